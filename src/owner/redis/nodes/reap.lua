-- reap: a node is to clear up after a dead one, if nobody else does.
-- ARGV: 4 the dead one, 5 who asks, 6 for how long, in milliseconds.
local node, at = ARGV[4], clock()
local ends = call('ZSCORE', K, node)
if not ends or tonumber(ends) >= at then return refuse('alive') end
local reaper, till = string.match(call('HGET', K .. ':reapers', node) or '', '^(%d+):(%d+)$')
if reaper and reaper ~= ARGV[5] and tonumber(till) >= at then return refuse('held') end
call('HSET', K .. ':reapers', node, ARGV[5] .. ':' .. string.format('%.0f', at + tonumber(ARGV[6])))
return '{}'
