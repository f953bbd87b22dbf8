-- renew: a node says that it is there.
-- ARGV: 4 its number, 5 its name, 6 for how long, in milliseconds, 7 how many rooms it looks after at the most: those that
-- were listed for so long that they may be there no longer; 8 how many users it has.
local node, at = ARGV[4], clock()
local name = call('HGET', K .. ':names', node)
if name and name ~= ARGV[5] then return refuse('taken') end
-- Whoever is being taken for dead waits until that is over, and then begins anew.
if call('HEXISTS', K .. ':reapers', node) == 1 then return refuse('reaped') end
-- Whoever is late, but was not taken for dead, is so because Redis was away or took no writes. The others are late for the
-- same reason, unless they have gone.
local ends = tonumber(call('ZSCORE', K, node) or at)
if name and ends < at then
  for _, other in ipairs(call('ZRANGEBYSCORE', K, '-inf', '(' .. at)) do
    local is_here = call('HEXISTS', K .. ':names', other) == 1 and call('HEXISTS', K .. ':reapers', other) == 0
    if is_here then call('ZADD', K, at + tonumber(ARGV[6]), other) end
  end
end
call('ZADD', K, at + tonumber(ARGV[6]), node)
if not name then call('HSET', K .. ':names', node, ARGV[5]) end
call('HSET', K .. ':users', node, ARGV[8])
local live, others = {}, 0
for _, one in ipairs(call('ZRANGEBYSCORE', K, at, '+inf')) do
  if call('HEXISTS', K .. ':names', one) == 1 then
    live[#live + 1] = one
    if one ~= node then others = others + (call('HGET', K .. ':users', one) or 0) end
  end
end
local dead = table.concat(call('ZRANGEBYSCORE', K, '-inf', '(' .. at), ',')
local first = call('ZRANGEBYSCORE', K, at, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
local first_ends = ',"e":' .. string.format('%.0f', tonumber(first[2]) - at)
call('ZREMRANGEBYSCORE', K .. ':left', '-inf', '(' .. at)
local over = call('ZRANGEBYSCORE', K .. ':made', '-inf', '(' .. at, 'LIMIT', 0, ARGV[7])
for place, room in ipairs(over) do
  -- Should it not get to it, another one does later.
  call('ZADD', K .. ':made', at + 60000, room)
  over[place] = cjson.encode(room)
end
return '{"k":' .. (name and 1 or 0) .. ',"u":' .. others .. first_ends .. ',"l":[' .. table.concat(live, ',') ..
  '],"d":[' .. dead .. '],"o":[' .. table.concat(over, ',') .. ']}'
