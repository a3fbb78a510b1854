/** Whether two types are the same: `any` is nothing but `any`, and an optional property isn't one that may be undefined. */
export type Equal<A, B> =
  (<T>() => T extends A ? 1 : 2) extends (<T>() => T extends B ? 1 : 2) ? true : false

/** Compiles only where it is given true: `expect<Equal<A, B>>()`. */
export declare const expect: <T extends true>() => T | void
