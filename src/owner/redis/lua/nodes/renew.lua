-- renew: renews the lease of a node. `users`: number of its users; `resting_max`: rooms without members that keep their
-- messages, 0: any number; `keep_ms`: how long they keep them, 0: no limit.
local node, name, users, resting_max, keep_ms = ARGV[4], ARGV[5], ARGV[6], tonumber(ARGV[7]), tonumber(ARGV[8])
local at = clock()
local known_name = call('HGET', key .. ':names', node)
if known_name and known_name ~= name then return refuse('taken') end
-- A node that another one cleans up after waits until that is done, and then begins again.
if call('HEXISTS', key .. ':reapers', node) == 1 then return refuse('reaped') end
-- A node that is late, but does not count as dead, could not reach Redis, or Redis took no writes. The other nodes are late
-- for the same reason, unless they have stopped.
local ends = tonumber(call('ZSCORE', key, node) or at)
if known_name and ends < at then
  for _, other in ipairs(call('ZRANGEBYSCORE', key, '-inf', '(' .. at)) do
    local has_name = call('HEXISTS', key .. ':names', other) == 1
    if has_name and call('HEXISTS', key .. ':reapers', other) == 0 then call('ZADD', key, at + LEASE_MS, other) end
  end
end
call('ZADD', key, at + LEASE_MS, node)
local standing = known_name and 1 or call('HGET', key .. ':purged', node) == name and 2 or 0
if not known_name then call('HSET', key .. ':names', node, name) end
call('HDEL', key .. ':purged', node)
call('HSET', key .. ':users', node, users)
local live, others = {}, 0
for _, one in ipairs(call('ZRANGEBYSCORE', key, at, '+inf')) do
  if call('HEXISTS', key .. ':names', one) == 1 then
    live[#live + 1] = one
    if one ~= node then others = others + (call('HGET', key .. ':users', one) or 0) end
  end
end
local dead = table.concat(call('ZRANGEBYSCORE', key, '-inf', '(' .. at), ',')
local first = call('ZRANGEBYSCORE', key, at, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
local first_ends = ',"e":' .. string.format('%.0f', tonumber(first[2]) - at)
-- Rooms without members whose time is over: this node ends them.
local ended = {}
local function take_ended(list, before)
  local names = call('ZRANGEBYSCORE', list, '-inf', '(' .. string.format('%.0f', before), 'LIMIT', 0, OVERDUE_ROOMS_MAX)
  for _, room in ipairs(names) do
    call('ZREM', list, room)
    if list == key .. ':left' then forget_left(room) end
    ended[#ended + 1] = cjson.encode(room)
  end
end
take_ended(key .. ':left', at)
local over = call('ZRANGEBYSCORE', key .. ':made', '-inf', '(' .. at, 'LIMIT', 0, OVERDUE_ROOMS_MAX)
for place, room in ipairs(over) do
  -- If this node does not check the room, another one does later.
  call('ZADD', key .. ':made', at + OVERDUE_AGAIN_MS, room)
  over[place] = cjson.encode(room)
end
-- Rooms that have rested longest, beyond their number. Some of them can have members again.
local resting, beyond = key .. ':resting', {}
if keep_ms > 0 then take_ended(resting, at - math.max(keep_ms, JOINED_ROOM_IDLE_MS)) end
local excess = resting_max > 0 and call('ZCARD', resting) - resting_max or 0
if excess > 0 then
  local popped = call('ZPOPMIN', resting, math.min(excess, OVERDUE_ROOMS_MAX))
  for place = 1, #popped, 2 do beyond[#beyond + 1] = cjson.encode(popped[place]) end
end
return '{"k":' .. standing .. ',"u":' .. others .. first_ends .. ',"l":[' .. table.concat(live, ',') ..
  '],"d":[' .. dead .. '],"o":[' .. table.concat(over, ',') .. '],"i":[' .. table.concat(ended, ',') .. '],"v":[' .. table.concat(beyond, ',') .. ']}'
