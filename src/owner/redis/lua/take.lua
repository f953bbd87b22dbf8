-- take: mirrors domain/recovery.rs
-- ARGV: 4 what opens it, 5 how long it is remembered that it was used up, in milliseconds.
local token, ends, session = string.match(call('GET', K) or '', '^(%S+) (%d+) (.*)$')
call('SET', K .. ':t', string.format('%s %.0f', ARGV[4], now + ARGV[5]), 'PX', ARGV[5])
if token ~= ARGV[4] then return '{}' end
call('DEL', K)
if tonumber(ends) ~= 0 and tonumber(ends) <= now then return '{}' end
return '{"s":' .. session .. '}'
