-- list_room_page: some names of the room list, in their order, and how many there are, or one more if there are more. `from`,
-- `to`: bounds as ZRANGEBYLEX has them; `most`: the most names.
local from, to, most = ARGV[4], ARGV[5], tonumber(ARGV[6])
index()
local names = call('ZRANGEBYLEX', key .. ':index', from, to, 'LIMIT', 0, most + 1)
local count = #names
if count > most then names[count] = nil end
for place, name in ipairs(names) do names[place] = cjson.encode(name) end
return '{"c":' .. count .. ',"r":[' .. table.concat(names, ',') .. ']}'
