-- since: mirrors domain/history.rs
-- ARGV: 5 after which facts, by number, 6 after which message, by number, 7 the epoch and 8 the server, by number, that it
-- knows them of, 9 an epoch to be. What a node has missed of a room.
local why = open(true, true)
if why then return refuse(why) end
if ARGV[7] == room.e then
  local known, kept = tonumber(ARGV[8]), tonumber(ARGV[5])
  for at = known + 1, room.zi do kept = math.min(kept, tonumber(call('HGET', K, 'zn' .. at) or 0)) end
  if kept < tonumber(ARGV[5]) then
    -- The node knows what was lost: this run of the log ends. What is left of it is the beginning of the next one.
    room.e, room.n = ARGV[9], math.max(room.n, tonumber(ARGV[5]))
    call('HSET', K, 'e', room.e, 'n', room.n, 'k', 0)
    call('HDEL', K, 'u', 'w')
    call('DEL', M, P, T)
    room.k = 0
    settle()
    tell('*', '{"closed":"the room\'s messages were lost"}')
    rest()
    return done('"l":[]')
  end
  call('SREM', K .. ':z', string.match(origin, '^%d+'))
end
local list = {}
for _, entry in ipairs(call('XRANGE', K .. ':f', string.format('%d-0', tonumber(ARGV[5]) + 1), '+')) do
  list[#list + 1] = entry[2][2]
end
for _, entry in ipairs(call('XRANGE', L, string.format('%d-0', tonumber(ARGV[6]) + 1), '+', 'COUNT', 2000)) do
  local text = entry[2][2]
  local n, c = string.match(text, '^{"n":(%d+)'), string.match(text, '"c":"([%w_-]+)"')
  list[#list + 1] = '{"n":' .. n .. ',"o":"","t":' .. now .. ',"f":[["*' .. c .. '",{"message":' .. text .. '}]]}'
end
return done('"l":[' .. table.concat(list, ',') .. ']')
