-- delete: mirrors domain/recovery.rs
-- Removes the session, and remembers that the token was used.
local token = ARGV[4]
if string.match(call('GET', key) or '', '^%S+') == token then call('DEL', key) end
call('SET', key .. ':t', string.format('%s %.0f', token, now + SESSION_TAKEN_MS), 'PX', SESSION_TAKEN_MS)
return '{}'
