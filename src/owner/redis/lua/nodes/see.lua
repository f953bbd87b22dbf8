-- see: notes users that have come or gone, and counts the known users. `keep_ms`: how long a user is known; 0: no limit.
-- Arguments from 5 on: the names.
local keep_ms, seen, at = tonumber(ARGV[4]), key .. ':seen', clock()
for place = 5, #ARGV do call('ZADD', seen, at, ARGV[place]) end
if keep_ms > 0 then call('ZREMRANGEBYSCORE', seen, '-inf', string.format('%.0f', at - keep_ms)) end
return '{"c":' .. call('ZCARD', seen) .. ',"r":[]}'
