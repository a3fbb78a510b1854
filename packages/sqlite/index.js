'use strict'

require('../install')(['sqlite'])
