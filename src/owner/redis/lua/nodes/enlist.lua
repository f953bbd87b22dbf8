-- enlist: updates the room list. `counts`: how many names follow of each kind: rooms that were made on purpose, rooms that a
-- node has left, rooms that do not exist. Arguments from 5 on: the names.
local counts = cjson.decode(ARGV[4])
index()
local made, left, at, next = key .. ':made', key .. ':left', clock(), 5
local function each(count, act)
  for place = next, next + count - 1 do act(ARGV[place]) end
  next = next + count
end
each(counts[1], function(name)
  call('ZADD', made, at + MADE_ROOM_IDLE_MS, name)
  call('ZADD', key .. ':index', 0, name)
end)
each(counts[2], function(name)
  call('ZADD', key .. ':index', 0, name)
  if call('ZSCORE', made, name) then
    call('ZADD', made, at + MADE_ROOM_IDLE_MS, name)
  else
    call('ZADD', left, at + JOINED_ROOM_IDLE_MS, name)
    call('ZADD', key .. ':resting', at, name)
  end
end)
each(counts[3], function(name)
  -- A new entry can be of a room that is being made.
  local ends = call('ZSCORE', made, name)
  if ends and tonumber(ends) - MADE_ROOM_IDLE_MS + NEW_ENTRY_MS <= at then call('ZREM', made, name) end
  forget_left(name)
end)
return '{}'
