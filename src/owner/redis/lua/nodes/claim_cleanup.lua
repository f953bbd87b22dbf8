-- claim_cleanup: a node becomes the collector of a dead one, if no other node is.
local dead_node, collector = ARGV[4], ARGV[5]
local at = clock()
local ends = call('ZSCORE', key, dead_node)
if not ends or tonumber(ends) >= at then return refuse('alive') end
local reaper, till = string.match(call('HGET', key .. ':reapers', dead_node) or '', '^(%d+):(%d+)$')
if reaper and reaper ~= collector and tonumber(till) >= at then return refuse('held') end
call('HSET', key .. ':reapers', dead_node, collector .. ':' .. string.format('%.0f', at + LEASE_MS))
return '{}'
