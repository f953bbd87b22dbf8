-- part: a node goes; what it leaves behind is the others' to clear up at once.
-- ARGV: 4 its number, 5 its name.
if call('HGET', K .. ':names', ARGV[4]) == ARGV[5] then call('ZADD', K, 'XX', 0, ARGV[4]) end
return '{}'
