'use strict'

require('../install')(['predecessors'])
