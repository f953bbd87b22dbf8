-- take: mirrors domain/recovery.rs
-- Takes the session: each token is used once.
local token = ARGV[4]
local stored, ends, session = string.match(call('GET', key) or '', '^(%S+) (%d+) (.*)$')
call('SET', key .. ':t', string.format('%s %.0f', token, now + SESSION_TAKEN_MS), 'PX', SESSION_TAKEN_MS)
if stored ~= token then return '{}' end
call('DEL', key)
if tonumber(ends) ~= 0 and tonumber(ends) <= now then return '{}' end
return '{"s":' .. session .. '}'
