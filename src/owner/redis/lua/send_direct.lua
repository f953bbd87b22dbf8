-- send_direct: mirrors domain/user.rs
-- ARGV: 6 the message's id, 7 the message, 8 messages that may wait. Only who was ever here can be written to.
read()
if not user.w and call('EXISTS', Q) == 0 then return refuse('user') end
local last = call('ZRANGE', Q, -1, -1, 'WITHSCORES')
call('ZADD', Q, tonumber(last[2] or 0) + 1, ARGV[6])
call('HSET', D, ARGV[6], ARGV[7])
local may = tonumber(ARGV[8])
local beyond = may > 0 and call('ZRANGE', Q, 0, -may - 1) or {}
for _, id in ipairs(beyond) do
  call('ZREM', Q, id)
  call('HDEL', D, id)
end
for _, key in ipairs({Q, D}) do
  if keep_ms > 0 then call('PEXPIRE', key, keep_ms) else call('PERSIST', key) end
end
hand(',"d":' .. ARGV[7])
return '{}'
