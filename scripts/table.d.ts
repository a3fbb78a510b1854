export function printTable (head: string[], rows: string[][], widths: number[]): void
