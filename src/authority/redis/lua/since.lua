-- since: mirrors domain/history.rs
-- ARGV: 5 after which facts, by number, 6 after which message, by number. What a node has missed of a room.
local why = open(true)
if why then return refuse(why) end
local list = {}
for _, entry in ipairs(call('XRANGE', K .. ':f', string.format('%d-0', tonumber(ARGV[5]) + 1), '+')) do
  list[#list + 1] = entry[2][2]
end
for _, entry in ipairs(call('XRANGE', L, string.format('%d-0', tonumber(ARGV[6]) + 1), '+', 'COUNT', 2000)) do
  local text = entry[2][2]
  local n, c = string.match(text, '^{"n":(%d+)'), string.match(text, '"c":"([%w_-]+)"')
  list[#list + 1] = '{"n":' .. n .. ',"o":"","t":' .. now .. ',"f":[["*' .. c .. '",{"message":' .. text .. '}]]}'
end
return done('"l":[' .. table.concat(list, ',') .. ']')
