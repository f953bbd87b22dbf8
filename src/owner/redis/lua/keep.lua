-- keep: mirrors domain/recovery.rs
-- ARGV: 4 what opens it, 5 when it ends, 6 the session, 7 how long it is kept at the most, in milliseconds, 8 its
-- connection.
-- A session that was used up is not opened again by what its connection still had noted of itself.
local taken, over = string.match(call('GET', K .. ':t') or '', '^(%S+) (%d+)$')
if taken == ARGV[4] and now < tonumber(over) then return '{}' end
-- Nor is one that has passed to another connection since.
local passed, owner = string.match(call('GET', K .. ':o') or '', '^(%S+) (%S+)$')
if passed == ARGV[4] and owner ~= ARGV[8] then return '{}' end
call('SET', K, ARGV[4] .. ' ' .. ARGV[5] .. ' ' .. ARGV[6], 'PX', ARGV[7])
return '{}'
