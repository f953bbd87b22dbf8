-- claim: the lowest free number, for a new node.
local name = ARGV[4]
local taken = {}
for _, node in ipairs(call('ZRANGE', key, 0, -1)) do taken[node] = true end
local node = 1
while taken[tostring(node)] do node = node + 1 end
if node > NODES_MAX then return refuse('full') end
call('ZADD', key, clock() + LEASE_MS, node)
call('HSET', key .. ':names', node, name)
call('HDEL', key .. ':purged', node)
return '{"n":' .. node .. '}'
