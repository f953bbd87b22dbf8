-- take: mirrors domain/recovery.rs
-- Takes the session: each token is used once, and only by a user who may recover the session. One that is over counts as not
-- stored, whether or not Redis has removed it by now.
local token, guest, user = ARGV[4], ARGV[5], ARGV[6]
local stored, ends, session = string.match(call('GET', key) or '', '^(%S+) (%d+) (.*)$')
if stored == token and tonumber(ends) ~= 0 and tonumber(ends) <= now then
  call('DEL', key)
  stored = nil
end
if stored == token and not may_recover(user, guest, session) then return '{}' end
local used = string.format('%s %.0f', token, now + SESSION_TAKEN_MS)
if stored ~= token then
  local taken, over, by = string.match(call('GET', key .. ':t') or '', '^(%S+) (%d+)(.*)$')
  if not (taken == token and by == '' and now < tonumber(over)) then used = used .. ' ' .. guest .. ' ' .. user end
end
call('SET', key .. ':t', used, 'PX', SESSION_TAKEN_MS)
if stored ~= token then return '{}' end
call('DEL', key)
return '{"s":' .. session .. '}'
