-- Evicts the record of a finished job, unless it is still to be saved. The job stays in the index.
--
-- KEYS[1] run       hash: the record
-- KEYS[2] events    stream: every event of the job
-- KEYS[3] history   list: every event except progress
-- KEYS[4] dirty     set: jobs whose record is newer than their file in the store
-- KEYS[5] finished  sorted set: finished jobs with a record, by time of their end
--
-- ARGV[1] id        of the job
--
-- Returns the number of keys deleted; 0: the job is still to be saved.
local run, events, history, dirty, finished = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local id = ARGV[1]

if redis.call('SISMEMBER', dirty, id) == 1 then return 0 end
redis.call('ZREM', finished, id)
return redis.call('DEL', run, events, history)
