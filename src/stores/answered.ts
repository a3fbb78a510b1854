/** Also answers through the callback, if there is one. */
export function answered<T> (
  promise: Promise<T>, callback: ((error: any, value?: any) => void) | undefined
): Promise<T> {
  if (callback !== undefined) promise.then(value => callback(null, value), callback)
  return promise
}
