-- claim: the lowest number that no node has, for a new one.
-- ARGV: 4 the node's name, 5 for how long, in milliseconds.
local taken = {}
for _, node in ipairs(call('ZRANGE', K, 0, -1)) do taken[node] = true end
local node = 1
while taken[tostring(node)] do node = node + 1 end
if node > 65535 then return refuse('full') end
call('ZADD', K, clock() + tonumber(ARGV[5]), node)
call('HSET', K .. ':names', node, ARGV[4])
return '{"n":' .. node .. '}'
