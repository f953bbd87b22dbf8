-- save: mirrors domain/recovery.rs
-- Stores the session. `ends`: its end, 0: none; `kept_ms`: time until it is removed.
local token, ends, session, kept_ms, connection = ARGV[4], ARGV[5], ARGV[6], ARGV[7], ARGV[8]
-- A token that was used does not open a session again.
local taken, over, guest, user = string.match(call('GET', key .. ':t') or '', '^(%S+) (%d+) ?([01]?) ?(.*)$')
if taken == token and now < tonumber(over) and (guest == '' or may_recover(user, guest, session)) then return '{}' end
-- A session that has passed to another connection is not stored by the former one.
local passed, owner = string.match(call('GET', key .. ':o') or '', '^(%S+) (%S+)$')
if passed == token and owner ~= connection then return '{}' end
call('SET', key, token .. ' ' .. ends .. ' ' .. session, 'PX', kept_ms)
return '{}'
