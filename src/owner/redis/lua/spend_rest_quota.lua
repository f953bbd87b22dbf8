-- spend_rest_quota: mirrors domain/quota.rs
-- Counts a REST request; a minute begins with its first request.
local limit = tonumber(ARGV[6])
local ends, spent = string.match(call('GET', key .. ':a') or '', '^(%d+) (%d+)$')
ends, spent = tonumber(ends), tonumber(spent)
if not ends or now >= ends then ends, spent = now + MINUTE_MS, 0 end
if spent >= limit then return '{"x":"rest","ms":' .. string.format('%.0f', ends - now) .. '}' end
call('SET', key .. ':a', string.format('%.0f %d', ends, spent + 1), 'PX', MINUTE_MS)
return '{}'
