'use strict'

// What is changed, one thing at a time: each mutator answers the texts that may stand in a node's place.

const ts = require('typescript')

const { SyntaxKind } = ts

const BOUNDARIES = { '<': '<=', '<=': '<', '>': '>=', '>=': '>' }
const NEGATIONS = { '===': '!==', '!==': '===', '==': '!=', '!=': '==', '<': '>=', '>=': '<', '>': '<=', '<=': '>' }
const ARITHMETIC = { '+': '-', '-': '+', '*': '/', '/': '*', '%': '*', '+=': '-=', '-=': '+=' }
const TWINS = { min: 'max', max: 'min', some: 'every', every: 'some', startsWith: 'endsWith', endsWith: 'startsWith' }
const LEFT_OUT = new Set(['filter', 'reverse', 'slice', 'sort', 'flat', 'trim'])

const mutators = {
  /** `a < b` as `a <= b`. */
  boundary (node) {
    return withOperator(node, BOUNDARIES)
  },

  /** `a === b` as `a !== b`, `!a` as `a`. A whole condition is left to `condition`, which asks for more. */
  negation (node) {
    if (isCondition(node)) return []
    if (isNot(node)) return [node.operand.getText()]
    if (isBinary(node, SyntaxKind.InstanceOfKeyword, SyntaxKind.InKeyword)) return [`!(${node.getText()})`]
    return withOperator(node, NEGATIONS)
  },

  /** A condition that always holds, and one that never does. */
  condition (node) {
    if (!isCondition(node)) return []
    // Always would be a loop without an end, and `half` asks the rest of `a && b` and `a || b`.
    if (isLoop(node.parent) || isBinary(node, SyntaxKind.AmpersandAmpersandToken)) return ['false']
    return isBinary(node, SyntaxKind.BarBarToken) ? ['true'] : ['true', 'false']
  },

  /** `a && b`, `a || b` and `a ?? b` as `a` and as `b`. */
  half (node) {
    const { AmpersandAmpersandToken, BarBarToken, QuestionQuestionToken } = SyntaxKind
    if (!isBinary(node, AmpersandAmpersandToken, BarBarToken, QuestionQuestionToken)) return []
    return [node.left.getText(), node.right.getText()]
  },

  /** `a ??= b` as `a = b`. */
  assignment (node) {
    if (!isBinary(node, SyntaxKind.QuestionQuestionEqualsToken, SyntaxKind.BarBarEqualsToken)) return []
    return [`${node.left.getText()} = ${node.right.getText()}`]
  },

  /** `a + b` as `a - b`, `++a` as `--a`. */
  arithmetic (node) {
    if (ts.isBinaryExpression(node) && (isText(node.left) || isText(node.right))) return []
    if (isStep(node)) return [node.getText().replace(/\+\+|--/, step => step === '++' ? '--' : '++')]
    return withOperator(node, ARITHMETIC)
  },

  /** `true` as `false`, 1 as 2, 10_000 as 0, 'name' as ''. */
  literal (node) {
    const { parent } = node
    const isCompared = ts.isBinaryExpression(parent) && parent.operatorToken.getText() in NEGATIONS
    if (node.kind === SyntaxKind.TrueKeyword) return isCompared ? [] : ['false']
    if (node.kind === SyntaxKind.FalseKeyword) return isCompared ? [] : ['true']
    if (parent.name === node) return []
    // Of a large one the size decides.
    if (ts.isNumericLiteral(node)) return node.text >= 1000 ? ['0'] : [String(Number(node.text) + 1)]
    if (!ts.isStringLiteral(node) || isMessage(node)) return []
    if (isCompared && (isCondition(parent) || ts.isTypeOfExpression(parent.left))) return []
    return [node.text === '' ? "'mutated'" : "''"]
  },

  /** `a?.b` as `a.b`. */
  chain (node) {
    if (!ts.isOptionalChain(node) || isWithinChain(node) || ts.isDeleteExpression(node.parent)) return []
    const texts = []
    for (let link = node; ts.isOptionalChain(link) || ts.isNonNullExpression(link); link = link.expression) {
      if (link.questionDotToken === undefined) continue
      const start = link.questionDotToken.getStart() - node.getStart()
      const text = node.getText()
      const rest = text.slice(start + 2)
      texts.push(text.slice(0, start) + (/^[[(]/.test(rest) ? '' : '.') + rest)
    }
    return texts
  },

  /** `a.some(b)` as `a.every(b)`, `a.filter(b)` as `a`. */
  call (node) {
    if (!ts.isCallExpression(node) || !ts.isPropertyAccessExpression(node.expression) || ts.isOptionalChain(node)) return []
    const { expression, name } = node.expression
    if (LEFT_OUT.has(name.text)) return [expression.getText()]
    if (!Object.hasOwn(TWINS, name.text)) return []
    return [expression.getText() + '.' + TWINS[name.text] + node.getText().slice(name.end - node.getStart())]
  },

  /** `...a` of an object left out. */
  spread (node) {
    return ts.isSpreadAssignment(node.parent) ? ['{}'] : []
  },

  /** An arrow function that does and answers nothing. */
  arrow (node) {
    if (!ts.isArrowFunction(node.parent) || node.parent.body !== node) return []
    if (!ts.isBlock(node)) return isPlain(node) ? [] : ['undefined']
    return node.statements.length > 1 ? ['{}'] : []
  },

  /** A statement left out. */
  statement (node) {
    if (!isRemovable(node) || isAllOfIf(node)) return []
    // The end of a function comes without it.
    if (ts.isReturnStatement(node) && node.expression === undefined && isLastOfFunction(node)) return []
    return ['']
  }
}

/** Each change to this one node, as { mutator, text }. */
function mutationsOf (node) {
  return Object.entries(mutators).flatMap(([mutator, textsFor]) => textsFor(node).map(text => ({ mutator, text })))
}

function withOperator (node, operators) {
  if (!ts.isBinaryExpression(node)) return []
  const operator = node.operatorToken.getText()
  if (!Object.hasOwn(operators, operator)) return []
  const text = node.getText()
  const start = node.operatorToken.getStart() - node.getStart()
  return [text.slice(0, start) + operators[operator] + text.slice(start + operator.length)]
}

function isBinary (node, ...kinds) {
  return ts.isBinaryExpression(node) && kinds.includes(node.operatorToken.kind)
}

function isNot (node) {
  return ts.isPrefixUnaryExpression(node) && node.operator === SyntaxKind.ExclamationToken
}

function isStep (node) {
  if (!ts.isPrefixUnaryExpression(node) && !ts.isPostfixUnaryExpression(node)) return false
  return node.operator === SyntaxKind.PlusPlusToken || node.operator === SyntaxKind.MinusMinusToken
}

function isLoop (node) {
  return ts.isWhileStatement(node) || ts.isDoStatement(node) || ts.isForStatement(node)
}

function isCondition (node) {
  const { parent } = node
  if (ts.isIfStatement(parent) || ts.isWhileStatement(parent) || ts.isDoStatement(parent)) return parent.expression === node
  return (ts.isConditionalExpression(parent) || ts.isForStatement(parent)) && parent.condition === node
}

function isText (node) {
  return ts.isStringLiteralLike(node) || ts.isTemplateExpression(node)
}

// What an error says isn't a decision. Directives and the names of modules aren't, either.
function isMessage ({ parent, text }) {
  return text.includes(' ') || ts.isNewExpression(parent) || ts.isExternalModuleReference(parent) || ts.isExpressionStatement(parent)
}

function isPlain (node) {
  return ts.isIdentifier(node) || ts.isLiteralExpression(node) || node.getText() === '{}'
}

function isWithinChain (node) {
  const { parent } = node
  if (ts.isNonNullExpression(parent)) return isWithinChain(parent)
  return ts.isOptionalChain(parent) && parent.expression === node
}

function isRemovable (node) {
  if (ts.isExpressionStatement(node)) {
    const { expression } = node
    return !ts.isStringLiteral(expression) && !(ts.isCallExpression(expression) && expression.expression.kind === SyntaxKind.SuperKeyword)
  }
  return ts.isReturnStatement(node) || ts.isThrowStatement(node) || ts.isBreakOrContinueStatement(node)
}

// Without it an `if` does nothing, and that its condition never holds is asked for already.
function isAllOfIf (node) {
  const { parent } = node
  if (ts.isBlock(parent)) return parent.statements.length === 1 && isAllOfIf(parent)
  return ts.isIfStatement(parent) && parent.elseStatement === undefined && parent.thenStatement === node
}

function isLastOfFunction (node) {
  const { parent } = node
  return ts.isBlock(parent) && parent.statements.at(-1) === node && ts.isFunctionLike(parent.parent)
}

module.exports = { mutationsOf }
