'use strict'

const neostandard = require('neostandard')

module.exports = [
  ...neostandard({ ts: true, ignores: ['dist', '.tap', '.quick'] }),
  {
    // The compiler knows better: a type may share its name with a value.
    files: ['**/*.ts'],
    rules: {
      '@typescript-eslint/no-redeclare': 'off',
      '@typescript-eslint/no-use-before-define': 'off'
    }
  },
  {
    files: ['src/**/*.ts'],
    ignores: ['src/testing/**'],
    rules: {
      complexity: ['error', 15],
      'max-lines-per-function': ['error', { max: 60, skipComments: true }],
      '@stylistic/max-len': ['error', { code: 120, ignoreStrings: true, ignoreTemplateLiterals: true }]
    }
  }
]
