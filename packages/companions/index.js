'use strict'

require('../install')(['companions'])
