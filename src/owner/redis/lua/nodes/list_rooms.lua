-- list_rooms: the room list, or the first rooms of it.
local before = '(' .. string.format('%.0f', clock())
for _, name in ipairs(call('ZRANGEBYSCORE', key .. ':left', '-inf', before, 'LIMIT', 0, LISTED_ROOMS_MAX)) do forget_left(name) end
local names, count = {}, 0
for _, part in ipairs({':made', ':left'}) do
  count = count + call('ZCARD', key .. part)
  for _, name in ipairs(call('ZRANGE', key .. part, 0, LISTED_ROOMS_MAX)) do
    if #names < LISTED_ROOMS_MAX then names[#names + 1] = cjson.encode(name) end
  end
end
return '{"c":' .. count .. ',"r":[' .. table.concat(names, ',') .. ']}'
