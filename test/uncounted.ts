/** What runs tens of thousands of times covers nothing that other tests don't: not to count it saves a quarter of its time. */
import { Session } from 'node:inspector'

const session = new Session()
session.connect()
session.post('Profiler.enable')
session.post('Profiler.stopPreciseCoverage')
session.disconnect()
