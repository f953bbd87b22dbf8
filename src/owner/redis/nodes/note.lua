-- note: a node begins to have to do with rooms and users, or ends.
-- ARGV: 4 how many follow of each kind: rooms it enters, rooms it leaves, users who come, users who go; 5 on: their names.
local at = 5
local function all(act, key, count)
  for first = at, at + count - 1, 1000 do
    call(act, key, unpack(ARGV, first, math.min(first + 999, at + count - 1)))
  end
  at = at + count
end
local counts = cjson.decode(ARGV[4])
all('SADD', K .. ':rooms', counts[1])
all('SREM', K .. ':rooms', counts[2])
all('SADD', K .. ':users', counts[3])
all('SREM', K .. ':users', counts[4])
return '{}'
