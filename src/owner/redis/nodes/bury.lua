-- bury: a dead node has left nothing behind; its number is free.
-- ARGV: 4 the dead one, 5 who cleared up.
if string.match(call('HGET', K .. ':reapers', ARGV[4]) or '', '^%d+') ~= ARGV[5] then return refuse('held') end
call('ZREM', K, ARGV[4])
call('HDEL', K .. ':names', ARGV[4])
call('HDEL', K .. ':reapers', ARGV[4])
call('HDEL', K .. ':users', ARGV[4])
return '{}'
