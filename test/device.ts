/** A browser with a key for its sessions, as far as the protocol is concerned: without a browser. */
import type { FastifyInstance, InjectOptions, LightMyRequestResponse } from 'fastify'
import type { JWK, JWTPayload } from 'jose'
import { Visitor } from '../src/testing/visitor'

type Keys = Awaited<ReturnType<(typeof import('jose'))['generateKeyPair']>>

/** What is signed differently from what the draft requires. */
export interface Odd {
  alg?: string
  typ?: string
  jwk?: object
  /** The keys that sign. */
  keys?: Keys
  jti?: string
}

export class Device extends Visitor {
  /** The challenge of the last offer. */
  challenge: string | undefined
  /** The path at which it registers or refreshes. */
  path: string | undefined
  /** The identifier of the session, as the server sent it. */
  name = ''
  keys!: Keys
  jwk!: JWK

  static async open (app: FastifyInstance, alg = 'ES256'): Promise<Device> {
    const device = new Device(app)
    const { exportJWK, generateKeyPair } = await import('jose')
    device.keys = await generateKeyPair(alg, { extractable: true })
    device.jwk = await exportJWK(device.keys.publicKey)
    return device
  }

  override async get (url: string, more: InjectOptions = {}): Promise<LightMyRequestResponse> {
    const response = await super.get(url, { ...more, headers: { 'x-forwarded-proto': 'https', ...more.headers } })
    const offer = /^\(ES256\);path="([^"]+)";challenge="([^"]+)"$/.exec(String(response.headers['secure-session-registration'] ?? ''))
    if (offer !== null) [, this.path, this.challenge] = offer
    return response
  }

  async sign (payload: JWTPayload, { alg = 'ES256', typ = 'dbsc+jwt', jwk, keys = this.keys }: Odd = {}): Promise<string> {
    const { SignJWT } = await import('jose')
    return `"${await new SignJWT(payload).setProtectedHeader({ alg, typ, ...(jwk !== undefined && { jwk }) } as any).sign(keys.privateKey)}"`
  }

  /** Answers the last offer. */
  async register (odd: Odd = {}): Promise<LightMyRequestResponse> {
    const jws = await this.sign({ jti: odd.jti ?? this.challenge as string }, { jwk: this.jwk, ...odd })
    const response = await this.post(this.path as string, { 'secure-session-response': jws })
    if (response.statusCode === 200) {
      this.name = response.json().session_identifier
      this.path = response.json().refresh_url
    }
    return response
  }

  /** What a browser does if the bound cookie is missing. */
  async refresh (odd: Odd = {}): Promise<LightMyRequestResponse> {
    const asked = await this.ask()
    if (asked.statusCode !== 403) return asked
    return await this.answer(await this.sign({ jti: odd.jti ?? challengeIn(asked) }, odd))
  }

  async ask (): Promise<LightMyRequestResponse> {
    return await this.post(this.path as string, { 'sec-secure-session-id': `"${this.name}"` })
  }

  async answer (jws: string): Promise<LightMyRequestResponse> {
    return await this.post(this.path as string, { 'sec-secure-session-id': `"${this.name}"`, 'secure-session-response': jws })
  }

  /** Drops the bound cookie, as a browser does when it expires. */
  drop (): void {
    for (const name of this.cookies.keys()) if (name.endsWith('-bound')) this.cookies.delete(name)
  }

  async post (url: string, headers: Record<string, string>): Promise<LightMyRequestResponse> {
    return await this.get(url, { method: 'POST', headers })
  }
}

/** The challenge of a 403. */
export function challengeIn ({ headers }: LightMyRequestResponse): string {
  return (/^"([^"]+)";id="/.exec(String(headers['secure-session-challenge'])) as RegExpExecArray)[1] as string
}
