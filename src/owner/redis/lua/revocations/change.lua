-- revocations/change: mirrors domain/revocation.rs
-- Adds or replaces the revocation of a subject, or removes it if `entry` is empty, and tells all nodes. `until`: its end in
-- milliseconds since 1970; 0: none. Suffixes of key:
--   (none)    a string: number of the last change
--   :entries  a hash: revocations, as JSON, by subject
--   :changes  a sorted set: subjects by the number of their last change
--   :ends     a sorted set: subjects by end
local everyone, subject, entry, ends = ARGV[4], ARGV[5], ARGV[6], tonumber(ARGV[7])
local entries_key, changes_key, ends_key = key .. ':entries', key .. ':changes', key .. ':ends'

local function remove(name)
  call('HDEL', entries_key, name)
  call('ZREM', changes_key, name)
  call('ZREM', ends_key, name)
end

-- Nodes leave out by themselves what is over; their clocks may differ.
for _, name in ipairs(call('ZRANGEBYSCORE', ends_key, '-inf', now - OVER_MS, 'LIMIT', 0, PORTION)) do remove(name) end
local number = call('INCR', key)
remove(subject)
if entry ~= '' then
  call('HSET', entries_key, subject, entry)
  call('ZADD', changes_key, number, subject)
  if ends > 0 then call('ZADD', ends_key, ends, subject) end
end
call('PUBLISH', everyone, '{"l":[' .. number .. ',' .. cjson.encode(subject) .. ',' .. (entry ~= '' and entry or 'null') .. ']}')
return '{"n":' .. number .. '}'
