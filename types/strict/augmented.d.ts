import 'fastify'

declare module 'fastify' {
  interface Session {
    user?: { id: number }
    /** Required, so that no other library's session is one of these. */
    foo: string
    7?: boolean
  }
}
