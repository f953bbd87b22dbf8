-- send_direct: mirrors domain/user.rs
-- Stores and publishes a direct message, for a user who was connected before. `keep_count`: messages that can wait,
-- 0: any number; `most`: bytes that can wait, 0: any number; `may_be_unknown`: 1 for any user.
local id, direct, keep_count, most, may_be_unknown = ARGV[6], ARGV[7], tonumber(ARGV[8]), tonumber(ARGV[9]), ARGV[10]
read()
if may_be_unknown ~= '1' and not user.identity and call('EXISTS', waiting_key) == 0 then return refuse('user') end
local function is_full()
  return most > 0 and tonumber(call('HGET', directs_key, '#') or 0) + #direct > most
end
if is_full() then
  for _, old in ipairs(call('ZRANGE', waiting_key, 0, WAITING_MESSAGES)) do
    if not is_old(call('HGET', directs_key, old)) then break end
    forget_direct(old)
  end
  if is_full() then return refuse('directs') end
end
local last = call('ZRANGE', waiting_key, -1, -1, 'WITHSCORES')
call('ZADD', waiting_key, tonumber(last[2] or 0) + 1, id)
call('HSET', directs_key, id, direct)
call('HINCRBY', directs_key, '#', #direct)
local beyond = keep_count > 0 and call('ZRANGE', waiting_key, 0, -keep_count - 1) or {}
for _, id in ipairs(beyond) do
  forget_direct(id)
end
for _, key in ipairs({waiting_key, directs_key}) do
  if keep_ms > 0 then call('PEXPIRE', key, keep_ms) else call('PERSIST', key) end
end
local reached = hand(',"d":' .. direct)
if reached == 0 and hooks > 0 then
  if not user.identity then user.identity = cjson.encode({string.match(key, ':user:{(.*)}$')}) end
  hook(HOOK_OFFLINE_MESSAGE, ',"d":' .. direct)
end
return '{"k":' .. reached .. '}'
