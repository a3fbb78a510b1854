'use strict'

require('../install')(['stores'])
