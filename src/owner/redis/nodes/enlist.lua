-- enlist: rooms are listed although no node has members in them.
-- ARGV: 4 how many follow of each kind: rooms that are made on purpose, rooms that a node has left, rooms that are not there;
-- 5 for how long made rooms may be empty, and 6 others, in milliseconds; 7 on: their names.
local made, left, at, next = K .. ':made', K .. ':left', clock(), 7
local counts = cjson.decode(ARGV[4])
local function each(count, act)
  for place = next, next + count - 1 do act(ARGV[place]) end
  next = next + count
end
each(counts[1], function(name) call('ZADD', made, at + ARGV[5], name) end)
each(counts[2], function(name)
  if call('ZSCORE', made, name) then
    call('ZADD', made, at + ARGV[5], name)
  else
    call('ZADD', left, at + ARGV[6], name)
  end
end)
each(counts[3], function(name)
  -- What was noted a moment ago may be of a room that is being made.
  local ends = call('ZSCORE', made, name)
  if ends and tonumber(ends) - ARGV[5] + 60000 <= at then call('ZREM', made, name) end
  call('ZREM', left, name)
end)
return '{}'
