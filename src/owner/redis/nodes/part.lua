-- part: a node goes. What it leaves behind is the others' to clear up as soon as its clients have had time to come to them;
-- until then it has its number, but no name, by which it is known to be none of those that are alive.
-- ARGV: 4 its number, 5 its name, 6 for how long, in milliseconds.
if call('HGET', K .. ':names', ARGV[4]) == ARGV[5] then
  call('HDEL', K .. ':names', ARGV[4])
  call('ZADD', K, 'XX', clock() + tonumber(ARGV[6]), ARGV[4])
end
return '{}'
