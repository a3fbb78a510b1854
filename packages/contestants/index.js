'use strict'

require('../install')(['contestants'])
