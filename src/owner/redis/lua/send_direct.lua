-- send_direct: mirrors domain/user.rs
-- Stores and publishes a direct message, for a user who was connected before. `keep_count`: messages that can wait,
-- 0: any number.
local id, direct, keep_count = ARGV[6], ARGV[7], tonumber(ARGV[8])
read()
if not user.identity and call('EXISTS', waiting_key) == 0 then return refuse('user') end
local last = call('ZRANGE', waiting_key, -1, -1, 'WITHSCORES')
call('ZADD', waiting_key, tonumber(last[2] or 0) + 1, id)
call('HSET', directs_key, id, direct)
local beyond = keep_count > 0 and call('ZRANGE', waiting_key, 0, -keep_count - 1) or {}
for _, id in ipairs(beyond) do
  call('ZREM', waiting_key, id)
  call('HDEL', directs_key, id)
end
for _, key in ipairs({waiting_key, directs_key}) do
  if keep_ms > 0 then call('PEXPIRE', key, keep_ms) else call('PERSIST', key) end
end
hand(',"d":' .. direct)
return '{}'
