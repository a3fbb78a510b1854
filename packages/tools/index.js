'use strict'

require('../install')(['tools'])
