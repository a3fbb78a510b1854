'use strict'

require('../install')(['frameworks'])
