-- spend_rest: mirrors domain/allowance.rs
-- ARGV: 6 requests in a minute. The minute begins with the first of them.
local ends, spent = string.match(call('GET', K .. ':a') or '', '^(%d+) (%d+)$')
ends, spent = tonumber(ends), tonumber(spent)
if not ends or now >= ends then ends, spent = now + 60000, 0 end
if spent >= tonumber(ARGV[6]) then return '{"x":"rest","ms":' .. string.format('%.0f', ends - now) .. '}' end
call('SET', K .. ':a', string.format('%.0f %d', ends, spent + 1), 'PX', 60000)
return '{}'
