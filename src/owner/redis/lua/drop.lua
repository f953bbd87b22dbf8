-- drop: mirrors domain/recovery.rs
-- ARGV: 4 what opens it, 5 how long it is remembered that it was used up, in milliseconds.
if string.match(call('GET', K) or '', '^%S+') == ARGV[4] then call('DEL', K) end
call('SET', K .. ':t', string.format('%s %.0f', ARGV[4], now + ARGV[5]), 'PX', ARGV[5])
return '{}'
