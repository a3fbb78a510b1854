'use strict'

require('../install')(['installs'])
