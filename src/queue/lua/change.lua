-- Changes a job's record, appends the event of the change and moves the job between the indices, all or nothing.
-- Applies only if `moves` has the record's status and, where `entry` is not empty, the record still has that entry.
--
-- KEYS[1]  run            hash: the record
-- KEYS[2]  events         stream: every event of the job
-- KEYS[3]  history        list: every event except progress, as JSON
-- KEYS[4]  index          sorted set: all jobs by time of creation
-- KEYS[5]  finished       sorted set: finished jobs with a record, by time of their end
-- KEYS[6]  dirty          set: jobs whose record is newer than their file in the store
-- KEYS[7]  statusPrefix   prefix of the sorted sets that hold the jobs of one status
-- KEYS[8]  outbox         stream: changes of status, for webhooks
--
-- ARGV[1]  id             of the job
-- ARGV[2]  moves          JSON object, status before -> status after; '*': keep whatever status there is
-- ARGV[3]  fields         JSON array: name, value, name, value ...
-- ARGV[4]  eventType      status, progress, log or warnings
-- ARGV[5]  eventData      JSON; a status event gets the status after the change
-- ARGV[6]  entry          the entry that the record must have; '': any
-- ARGV[7]  freshEntry     '1': give the job a new entry
-- ARGV[8]  finalStatuses  JSON array
-- ARGV[9]  nowMs          milliseconds since 1970
-- ARGV[10] nowIso         the same, ISO 8601
-- ARGV[11] eventsKept     entries that stay in `events`
-- ARGV[12] historyKept    items that stay in `history`
-- ARGV[13] outboxKept     entries that stay in `outbox`
--
-- Returns nil where there is no record, else {status before, status after, 1 if changed else 0}.
local run, events, history, index = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local finished, dirty, statusPrefix, outbox = KEYS[5], KEYS[6], KEYS[7], KEYS[8]
local id, moves, fields = ARGV[1], ARGV[2], cjson.decode(ARGV[3])
local eventType, eventData = ARGV[4], ARGV[5]
local entry, freshEntry, finalStatuses = ARGV[6], ARGV[7], cjson.decode(ARGV[8])
local nowMs, nowIso = ARGV[9], ARGV[10]
local eventsKept, historyKept, outboxKept = ARGV[11], ARGV[12], ARGV[13]

local function isFinal(status)
  for _, final in ipairs(finalStatuses) do
    if final == status then return true end
  end
  return false
end

local before = redis.call('HGET', run, 'status')
if not before then return nil end
local after = before
if moves ~= '*' then after = cjson.decode(moves)[before] end
if not after or (entry ~= '' and redis.call('HGET', run, 'entry') ~= entry) then return {before, before, 0} end

for i = 1, #fields, 2 do redis.call('HSET', run, fields[i], fields[i + 1]) end
if freshEntry == '1' then
  redis.call('HSET', run, 'entry', id .. '_' .. redis.call('HINCRBY', run, 'generation', 1))
end

if after ~= before then
  redis.call('HSET', run, 'status', after)
  local created = redis.call('ZSCORE', index, id)
  redis.call('ZREM', statusPrefix .. before, id)
  redis.call('ZADD', statusPrefix .. after, created, id)
  redis.call('HSET', run, 'finishedAt', isFinal(after) and nowIso or '')
  if isFinal(after) then redis.call('ZADD', finished, nowMs, id) else redis.call('ZREM', finished, id) end
  redis.call('XADD', outbox, 'MAXLEN', '~', outboxKept, '*', 'job', id, 'status', after)
end

if eventType == 'status' then
  local event = cjson.decode(eventData)
  event.status = after
  eventData = cjson.encode(event)
end
local eventId = redis.call('XADD', events, 'MAXLEN', '~', eventsKept, '*', 'type', eventType, 'data', eventData)
if eventType ~= 'progress' then
  redis.call('HINCRBY', run, 'version', 1)
  redis.call('SADD', dirty, id)
  -- Concatenated, because cjson encodes an empty array as {}.
  redis.call('RPUSH', history, '{"id":"' .. eventId .. '","type":"' .. eventType .. '","data":' .. eventData .. '}')
  redis.call('LTRIM', history, -historyKept, -1)
end
return {before, after, 1}
