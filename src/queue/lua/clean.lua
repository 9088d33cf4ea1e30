-- Takes a job off the list of unsaved ones, unless its record has changed since the version that was saved.
--
-- KEYS[1] run      hash: the record
-- KEYS[2] dirty    set: jobs whose record is newer than their file in the store
-- KEYS[3] deleted  exists while the job counts as deleted
--
-- ARGV[1] id       of the job
-- ARGV[2] version  of the record that was saved; '': there was no record
--
-- Returns 0: the record is newer; 1: saved; 2: the job was deleted while it was saved.
local run, dirty, deleted = KEYS[1], KEYS[2], KEYS[3]
local id, version = ARGV[1], ARGV[2]

if redis.call('EXISTS', deleted) == 1 then
  redis.call('SREM', dirty, id)
  return 2
end
local current = redis.call('HGET', run, 'version')
if current and current ~= version then return 0 end
redis.call('SREM', dirty, id)
return 1
