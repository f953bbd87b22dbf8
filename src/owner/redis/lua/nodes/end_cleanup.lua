-- end_cleanup: a dead node has no places left; its number is free.
local dead_node, collector = ARGV[4], ARGV[5]
if string.match(call('HGET', key .. ':reapers', dead_node) or '', '^%d+') ~= collector then return refuse('held') end
-- The node can be cut off, not dead: it finds out that its members were removed.
local name = call('HGET', key .. ':names', dead_node)
if name then call('HSET', key .. ':purged', dead_node, name) end
call('ZREM', key, dead_node)
call('HDEL', key .. ':names', dead_node)
call('HDEL', key .. ':reapers', dead_node)
call('HDEL', key .. ':users', dead_node)
return '{}'
