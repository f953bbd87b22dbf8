-- renew: a node says that it is there.
-- ARGV: 4 its number, 5 its name, 6 for how long, in milliseconds.
local node, at = ARGV[4], clock()
local name = call('HGET', K .. ':names', node)
if name and name ~= ARGV[5] then return refuse('taken') end
-- Whoever is being taken for dead waits until that is over, and then begins anew.
if call('HEXISTS', K .. ':reapers', node) == 1 then return refuse('reaped') end
call('ZADD', K, at + tonumber(ARGV[6]), node)
if not name then call('HSET', K .. ':names', node, ARGV[5]) end
local live = {}
for _, one in ipairs(call('ZRANGEBYSCORE', K, at, '+inf')) do
  if call('HEXISTS', K .. ':names', one) == 1 then live[#live + 1] = one end
end
local dead = table.concat(call('ZRANGEBYSCORE', K, '-inf', '(' .. at), ',')
local first = call('ZRANGEBYSCORE', K, at, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
local ends = ',"e":' .. string.format('%.0f', tonumber(first[2]) - at)
return '{"k":' .. (name and 1 or 0) .. ends .. ',"l":[' .. table.concat(live, ',') .. '],"d":[' .. dead .. ']}'
