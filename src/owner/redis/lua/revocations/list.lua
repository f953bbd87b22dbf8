-- revocations/list: mirrors domain/revocation.rs
-- The revocations that were changed after the change of a number, some at a time, and the number of the last change.
local after = ARGV[4]
local list, number = {}, after
local found = call('ZRANGEBYSCORE', key .. ':changes', '(' .. after, '+inf', 'WITHSCORES', 'LIMIT', 0, PORTION)
for at = 1, #found, 2 do
  list[#list + 1] = '[' .. found[at + 1] .. ',' .. call('HGET', key .. ':entries', found[at]) .. ']'
  number = found[at + 1]
end
return '{"n":' .. (call('GET', key) or 0) .. ',"a":' .. number .. ',"l":[' .. table.concat(list, ',') .. ']}'
