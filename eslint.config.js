'use strict'

const neostandard = require('neostandard')

module.exports = [
  ...neostandard({ ts: true, ignores: ['dist', '.tap'] }),
  {
    // The compiler knows better: a type may share its name with a value.
    files: ['**/*.ts'],
    rules: {
      '@typescript-eslint/no-redeclare': 'off',
      '@typescript-eslint/no-use-before-define': 'off'
    }
  }
]
