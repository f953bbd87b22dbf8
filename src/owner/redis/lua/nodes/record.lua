-- record: adds and removes places of a node. `counts`: how many names follow of each kind: rooms and former rooms, users and
-- former users. Arguments from 5 on: the names.
local counts, at = cjson.decode(ARGV[4]), 5
local function all(command, set, count)
  for first = at, at + count - 1, NAMES_PER_COMMAND do
    call(command, set, unpack(ARGV, first, math.min(first + NAMES_PER_COMMAND - 1, at + count - 1)))
  end
  at = at + count
end
all('SADD', key .. ':rooms', counts[1])
all('SREM', key .. ':rooms', counts[2])
all('SADD', key .. ':users', counts[3])
all('SREM', key .. ':users', counts[4])
return '{}'
