'use strict'

// All mutants of a file go into one program, so that it is compiled once: each is asked for, by its number, where it would
// stand. `a < b` becomes `($mutant(7) ? a <= b : a < b)`, a statement `{ if (!$mutant(8)) statement }`.

const ts = require('typescript')
const { mutationsOf } = require('./mutators')

/**
 * @param name of the file, as reports show it
 * @param first the number of the file's first mutant
 * @returns the program, and its mutants as { id, file, line, mutator, before, after }
 */
function instrument (name, text, first) {
  const file = ts.createSourceFile(name, text, ts.ScriptTarget.ES2022, true)
  const mutants = []
  return { text: textOf(file), mutants: mutants.sort((a, b) => a.id - b.id) }

  function textOf (node) {
    if (isOnlyTypes(node)) return text.slice(node.getStart(), node.end)
    const mutations = node === file ? [] : mutationsOf(node).map(mutation => numbered(node, mutation))
    return mutations.reduceRight((inner, mutation) => choice(node, inner, mutation), childrenOf(node))
  }

  function childrenOf (node) {
    const children = []
    ts.forEachChild(node, child => { children.push(child) })
    let result = ''
    let end = node.getStart()
    for (const child of children.sort((a, b) => a.pos - b.pos)) {
      result += text.slice(end, child.getStart()) + textOf(child)
      end = child.end
    }
    return result + text.slice(end, node.end)
  }

  function numbered (node, { mutator, text }) {
    const id = first + mutants.length
    const line = file.getLineAndCharacterOfPosition(node.getStart()).line + 1
    mutants.push({ id, file: name, line, mutator, before: onOneLine(node.getText()), after: onOneLine(text) })
    return { id, text }
  }
}

function choice (node, inner, { id, text }) {
  if (ts.isStatement(node) || ts.isBlock(node)) return `{ if (!$mutant(${id})) ${inner} }`
  return `($mutant(${id}) ? (${text}) : (${inner}))`
}

function isOnlyTypes (node) {
  return ts.isTypeNode(node) || ts.isInterfaceDeclaration(node) || ts.isTypeAliasDeclaration(node) ||
    ts.isImportDeclaration(node) || ts.isImportEqualsDeclaration(node) || ts.isExportDeclaration(node)
}

function onOneLine (text) {
  return text.replace(/\s+/g, ' ')
}

/** TypeScript as the JavaScript that a test process runs. */
function compile (text) {
  const compilerOptions = { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.CommonJS, esModuleInterop: true }
  const { outputText, diagnostics } = ts.transpileModule(text, { compilerOptions, reportDiagnostics: true })
  if (diagnostics.length > 0) throw new Error(`A program that doesn't compile: ${diagnostics[0].messageText}`)
  return outputText
}

module.exports = { compile, instrument }
